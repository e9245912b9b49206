"""Random changes of pictures, a whole batch at a time, on the device that trains; truth moves with
its picture.

`policy` says how far each change may go, `change` moves pictures, masks, points and boxes, `bend`
is the part of that which no matrix describes, `pixels` changes values where they stand, and
`mixing` makes one picture of two. All that is random is drawn from `Draws`, so a sample is changed
alike in an epoch whatever else is in its batch; only mixing looks at another row.
"""

from __future__ import annotations

from .change import Change, augment, change, geometry, mirror, shift, warp
from .mixing import mix
from .pixels import channel_shift, colour, erase, pca_colour, principal_components, recolour
from .policy import LETTERS, PHOTOS, POLICIES, Augmentation

__all__ = [
    "LETTERS",
    "PHOTOS",
    "POLICIES",
    "Augmentation",
    "Change",
    "augment",
    "change",
    "channel_shift",
    "colour",
    "erase",
    "geometry",
    "mirror",
    "mix",
    "pca_colour",
    "principal_components",
    "recolour",
    "shift",
    "warp",
]
