"""What is known against the packages that users get, and the list of them (``sbom``)."""
