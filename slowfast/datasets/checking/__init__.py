"""Which videos of a list can be decoded, all frames that training may take of them, before a run is lost on the others.

sources.py, decoding.py: one video, in a process that may crash (slowfast/utils/isolation.py); no torch there.
listing.py: a list → what is to be read. journal.py: verdicts kept as they come. results.py: verdicts → files and words.
slowfast/engine/check_data.py tells the story from one end to the other; tools/check_data.py is its command line.
"""
