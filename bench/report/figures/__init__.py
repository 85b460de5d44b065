"""The figures: `plots` has them by name, and no other file of the report imports matplotlib before one is asked for.

`plot_quality`, `plot_time`, `plot_error`, `plot_guidance`, `plot_modes` and `plot_images` draw one or two each;
`image_table` says what the last one shows; `style` and `legend` are what they share.
"""
