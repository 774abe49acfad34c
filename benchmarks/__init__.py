"""How fast pulmo is beside what people use, measured side by side: `make bench`, `make bench-gpu`."""
