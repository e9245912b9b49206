"""Three networks learn real handwritten digits, each on another split into training,
validation and test pictures."""

import pellucid

SEEDS = (0, 1, 2)


def main() -> None:
    runs = [pellucid.train("digits", seed=seed, name=f"demo-split{seed}") for seed in SEEDS]
    rows = {"this network": [run.summary["test"] for run in runs]}
    rows |= {
        name: [run.summary["baselines"][name]["test"] for run in runs]
        for name in runs[0].summary["baselines"]
    }
    print(
        f"\ntest accuracy of 3 splits of 1,797 real digits\n{'':<22}"
        + "".join(f"split {seed:<4}" for seed in SEEDS)
        + "mean"
    )
    for name, tests in rows.items():
        values = [test["accuracy"]["value"] for test in tests]
        print(
            f"{name:<22}"
            + "".join(f"{value:<10.2%}" for value in values)
            + f"{sum(values) / len(values):.2%}"
        )
    print(f"\nopen in a browser:  {runs[0].path / 'report.html'}")
    print("your own pictures:  .venv/bin/pellucid train my_photos/   (a folder for each class)")


if __name__ == "__main__":
    main()
