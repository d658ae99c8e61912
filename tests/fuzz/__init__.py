"""Whatever comes from outside, as bytes: ``make test`` tries a little, the same each time, ``make fuzz`` new ones for as long as wanted."""
