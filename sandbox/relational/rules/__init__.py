"""Facts of relations below a release, by one rule per node. A rule that cannot prove its facts refuses."""
