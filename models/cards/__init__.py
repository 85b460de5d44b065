"""What a folder says of itself: `card` of a model, `folder_card` of all folders, `schedule_cards` of the noise
schedule.
"""
