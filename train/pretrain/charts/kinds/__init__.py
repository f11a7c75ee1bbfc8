"""The marks of each kind of chart: columns, level bars, lines and points, pies."""
