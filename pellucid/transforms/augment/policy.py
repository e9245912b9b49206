"""How far each random change may go, and the combinations that have a name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

LIMITS = {"rotate": 180, "shear": 45, "mixup": 10, "cutmix": 10}


@dataclass(frozen=True)
class Augmentation:
    """How far each change may go; 0 switches it off. Raises ValueError for a strength out of range.

    mirror: probability of left-right reflection. turn: probability of a turn by 90, 180 or 270
    degrees, of squares alone. crop: the largest part of each side that is cut away at a random
    place. zoom: ± share of the size. rotate, shear: ± degrees. shift: ± share of the side. elastic:
    standard deviation of a smooth random displacement (Simard et al. 2003), as a share of the side.
    thin_plate: each of 4×4 control points of a thin plate (Bookstein 1989) moves by ± this share of
    the side. colour: ± share of brightness, contrast and saturation. pca_colour: deviation of the
    shift along the principal components of the training pixels (Krizhevsky et al. 2012).
    channel_shift: ± share of the range, each channel by itself. erase: probability of a rectangle
    of 2 to 33 % without content (Zhong et al. 2020). mixup, cutmix: α of the Beta(α, α)
    distribution of a partner's share (Zhang et al. 2018, Yun et al. 2019); where both are on, each
    picture takes one of them by a coin. mosaic: probability of a picture made of four.
    """

    mirror: float = 0.0
    turn: float = 0.0
    crop: float = 0.0
    zoom: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    thin_plate: float = 0.0
    colour: float = 0.0
    pca_colour: float = 0.0
    channel_shift: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        for setting in fields(self):
            limit = LIMITS.get(setting.name, 1)
            if not 0 <= getattr(self, setting.name) <= limit:
                raise ValueError(f"{setting.name} must lie between 0 and {limit}")

    def __str__(self) -> str:
        return (
            ", ".join(f"{name} {value:g}" for name, value in asdict(self).items() if value)
            or "nothing"
        )

    @property
    def bends(self) -> bool:
        return bool(self.elastic or self.thin_plate)

    @property
    def resamples(self) -> bool:
        return any((self.crop, self.zoom, self.rotate, self.shear, self.elastic, self.thin_plate))

    @property
    def recolours(self) -> bool:
        return any((self.colour, self.pca_colour, self.channel_shift))

    @property
    def mixes(self) -> bool:
        return bool(self.mixup or self.cutmix)


# What does not change a digit or a letter into another one: no mirror, small turns. Photographs are
# not cropped by default: what they are about may stand at the edge.
LETTERS = Augmentation(rotate=10, zoom=0.1, shift=0.07, shear=8)
PHOTOS = Augmentation(mirror=0.5, zoom=0.1, shift=0.06, colour=0.2)

POLICIES: dict[str, Augmentation] = {
    "none": Augmentation(),
    "letters": LETTERS,
    "photos": PHOTOS,
    # Windows of 224 in 256, mirrored, and the colour of the light.
    "alexnet": Augmentation(crop=0.125, mirror=0.5, pca_colour=0.1),
    "elastic": replace(LETTERS, elastic=0.04),
    "warped": replace(PHOTOS, thin_plate=0.06),
    "erasing": replace(PHOTOS, erase=0.5),
    "mixup": replace(PHOTOS, mixup=0.2),
    "cutmix": replace(PHOTOS, cutmix=1.0),
    "strong": Augmentation(
        mirror=0.5,
        crop=0.3,
        zoom=0.15,
        rotate=15,
        shift=0.1,
        shear=8,
        colour=0.3,
        channel_shift=0.1,
        erase=0.25,
    ),
    # Seen from above or through a microscope, nothing has an upper side.
    "fields": Augmentation(mirror=0.5, turn=0.75, zoom=0.1, rotate=15, elastic=0.02, colour=0.2),
    "volumes": Augmentation(mirror=0.5, zoom=0.1, rotate=10, colour=0.1),
    "quarters": Augmentation(mirror=0.5, turn=0.75),
    "scenes": Augmentation(mirror=0.5, zoom=0.5, shift=0.1, colour=0.3, mosaic=0.5),
}
