"""What images are worth: real ones, features, and how far they are apart.

- images: `datasets`, `image_folder`, `image_file`, `downloads`, `images` (to uint8, and previews), `saved_images`
- extractors: `extractor`, `extractors`, `extractor_weights`, `compact`, `features` (the stream), `prefetch`
- statistics of real data: `reference`, `reference_cache`, `reference_maker`, `statistics`, `floors`
- distances: `metrics`, `frechet`, `law`, `exact_arithmetic`
- how well images fit their prompts: `clip_score`, `clip_model`, `clip_pixels`

Knows no study.
"""
