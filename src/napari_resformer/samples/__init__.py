"""Annotated planes: where they lie, how they are split, and what is wrong with them."""
