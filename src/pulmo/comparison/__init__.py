"""Several finished runs beside each other: `pulmo compare`."""
