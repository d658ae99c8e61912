"""The watchers: they turn the outside into facts and say "look again"; they decide nothing."""
