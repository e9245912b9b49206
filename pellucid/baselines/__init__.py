"""Methods that need no network, scored on the same split."""
