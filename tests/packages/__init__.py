"""The packages: what is made for them from the schema, how they are built, and that they work where they are installed."""
