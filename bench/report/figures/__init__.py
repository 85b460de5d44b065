"""The figures: `plots` has them by name, and no other file of the report imports matplotlib before one is asked for.

`plot_quality`, `plot_time`, `plot_error`, `plot_guidance`, `plot_modes` and `plot_images` draw one or two each, and
`plot_chosen` whatever columns are asked for; `image_table` says what the images are of, and `style`, `curves`, `legend`
and `footnotes` are what they share.
"""
