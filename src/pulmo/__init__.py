"""pulmo: experiments on pneumonia in chest radiographs."""
