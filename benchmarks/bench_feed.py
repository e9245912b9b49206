"""Feeding 28×28 pictures with augmentation, against a DataLoader (0 workers) that does the same
picture by picture with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from side_by_side import compare, training_of, views_of
from torch.utils.data import DataLoader, Dataset

from pellucid.core.rng import Draws, generator
from pellucid.tasks.classification.training import ClassificationTraining
from pellucid.transforms.augment import Augmentation

COUNT, BATCH = 12_800, 128
SHIFT, ROTATE, ZOOM = 2, 10.0, 0.1


class Pictures(Dataset):
    """As a good user writes it: the pictures in memory, one random affine map, one call of OpenCV,
    normalised."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, affine: bool) -> None:
        self.images, self.labels, self.affine = images, labels, affine
        self.rng = np.random.default_rng(0)
        self.mean, self.std = float(images.mean()), float(images.std())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.images[index]
        if self.affine:
            angle, scale, dx, dy = self.rng.uniform(
                (-ROTATE, 1 - ZOOM, -SHIFT, -SHIFT), (ROTATE, 1 + ZOOM, SHIFT, SHIFT)
            )
            matrix = cv2.getRotationMatrix2D((14, 14), angle, scale)
            matrix[:, 2] += dx, dy
            image = cv2.warpAffine(image, matrix, (28, 28), flags=cv2.INTER_LINEAR)
        else:
            dy, dx = self.rng.integers(0, 2 * SHIFT + 1, 2)
            image = cv2.copyMakeBorder(
                image, SHIFT, SHIFT, SHIFT, SHIFT, cv2.BORDER_CONSTANT, value=0
            )[dy : dy + 28, dx : dx + 28]
        return torch.from_numpy(
            (image[None].astype(np.float32) - self.mean) / self.std
        ), self.labels[index]


def main() -> list[float]:
    rng = np.random.default_rng(0)
    images, labels = (
        rng.integers(0, 256, (COUNT, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, COUNT),
    )
    views = views_of(images[..., None], labels)
    ratios = []
    for affine, wanted in ((False, 3.0), (True, 1.3)):
        how = Augmentation(shift=SHIFT / 28, rotate=ROTATE * affine, zoom=ZOOM * affine)
        training = training_of(views, BATCH, augmentation=how)
        loader = DataLoader(Pictures(images, labels, affine), batch_size=BATCH, shuffle=True)

        def ours(training: ClassificationTraining = training) -> None:
            for chosen in training.batches(views.samples, views.counts, 0, generator(0)):
                batch = training.augment(views.batch(chosen), Draws(0, 0, chosen), 0.0)
                training.preprocess.network_input(batch)

        def peer(loader: DataLoader = loader) -> None:
            for _ in loader:
                pass

        ratios.append(
            compare(f"feeding, {'affine' if affine else 'shifts'}", ours, peer, wanted=wanted)
        )
    return ratios


if __name__ == "__main__":
    main()
