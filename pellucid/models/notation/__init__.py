"""A network as one line of text: "C64 B R C64 B R P C128 B R C128 B R G L10".

Tokens in order, separated by spaces; letters are capitals, options lower case, in any order after
the number.

  C16        convolution, 16 maps: kernel 3, stride 1, padding 1, with bias. C64k5s2p0d2g4 sets
             kernel, stride, padding,
             dilation, groups. The padding stays 1 whatever the kernel: "same" for k5 is C64k5p2,
             and 1×1 is C64k1p0
  B  N       batch norm; local response norm with AlexNet's constants (n 5, k 2, α 1e-4, β 0.75)
  R  T  S    ReLU, tanh, sigmoid
  P  A       max-pool, average pool, 2/2. P3s2p1 sets kernel, stride, padding; the stride is the
             kernel unless set; sides
             round down; the zeros of a padded average count
  G          global average pool: maps to a vector
  D          dropout 0.5; D.3
  L10        dense, 10 units; flattens what comes
  U  X2      nearest upsampling ×2; pixel shuffle ×2 (2-D only)
  V32        transposed convolution, 32 maps: kernel 2, stride 2, padding 0, with bias. V32k3s2p1
             sets them; the padding is cut
             off the result, so a side of n becomes (n − 1)·s + k − 2p
  [ … ]      residual: the sum of what is inside and its input; where shapes differ the input is
             projected first, by a 1×1
             convolution with bias and the inside's stride (a dense layer for vectors)
  { … | … }  branches, stacked along channels; an empty branch is the identity
  ( … )3     three times
  1D:  3D:   in front: the dimension of every layer

A classifier ends in L or G; nothing belongs after it, for the network returns logits.
Initialisation: He normal with fan_in where the next activation is R, deviation 1/√fan_in elsewhere,
biases 0 (see layers.py); batch norm γ 1, β 0.
"""

from __future__ import annotations

from .build import NotationNet, build
from .grammar import classes_of, is_notation

__all__ = ["NotationNet", "build", "classes_of", "is_notation"]
