"""A run measured on its own test split or on another data set: what `pulmo evaluate` does."""
