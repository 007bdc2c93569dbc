"""The benchmark: what privacy costs in time and in accuracy, measured on TPC-H and on the shipped data."""
