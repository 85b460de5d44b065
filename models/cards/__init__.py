"""What a folder says of itself: `card` of models and extractors, `schedule_cards` of the noise schedule."""
