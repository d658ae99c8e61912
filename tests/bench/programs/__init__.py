"""The other publishers as small programs, as lean as the recipe allows; standard library only."""
