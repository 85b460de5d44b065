"""What everything else stands on.

`errors` and `explain` (what is wrong, in words), `files` and `writing` (read and written whole or not at all), `sealed`
(tensors that tell when they are damaged), `kept` (what is worked out once), `program` (how this program is called).
"""
