"""What every kind of chart is drawn with: canvas and fonts, styles, palettes, frames."""
