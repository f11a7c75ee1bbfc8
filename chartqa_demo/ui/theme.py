"""Theme: one accent colour on slate, text that meets WCAG AA in light and dark, fonts that ship with Gradio; and the
files that the browser gets."""

from pathlib import Path

from gradio.themes import Base, colors, sizes
from gradio.themes.utils.fonts import LocalFont

CSS_FILES = sorted(Path(__file__).parent.rglob("*.css"))
SCRIPTS = sorted(Path(__file__).parent.rglob("*.js"))


def page_theme() -> Base:
    """Gradio's Base theme with our accent; its own grey texts and buttons miss a contrast of 4.5 in light mode."""
    weights = (400, 700)  # the other weights that Gradio ships lack most letters
    return Base(
        primary_hue=colors.teal,
        neutral_hue=colors.slate,
        radius_size=sizes.radius_md,
        font=(LocalFont("IBM Plex Sans", weights=weights), "ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=(LocalFont("IBM Plex Mono", weights=weights), "ui-monospace", "Consolas", "monospace"),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="none",
        input_border_width="1px",
        input_shadow="none",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_400",
        button_border_width="1px",
        button_large_text_weight="600",
        button_small_text_weight="400",
        block_title_text_size="*text_sm",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_background_fill="white",
        input_background_fill_dark="*neutral_950",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        slider_color="*primary_600",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        checkbox_label_text_color_selected="white",
    )
