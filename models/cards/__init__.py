"""What a folder says of itself: `card` of models, `folder_card` of any folder and of extractors, `schedule_cards` of
the noise schedule, `decoder_card` of what decodes latents; `changes` and `prompts_card`: what a study says instead and
beside.
"""
