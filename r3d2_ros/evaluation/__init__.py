"""How good a harmonizer's pictures are: the paper's measures, and what users of the released weights judge by."""
