"""The work of `pulmo explain`: heat maps of chosen images, where the heat lies, and whether the lungs are needed."""
