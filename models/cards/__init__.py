"""What a folder says of itself: `card` of models and extractors, `schedule_cards` of the noise schedule,
`decoder_card` of what decodes latents; `changes` and `prompts_card`: what a study says instead and beside.
"""
