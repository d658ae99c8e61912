"""What is known against the packages that users get."""
