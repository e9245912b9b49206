"""Loss functions and class balance."""
