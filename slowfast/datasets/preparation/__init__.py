"""From what the owners of a data set distribute, or a tree of class folders, to the lists that training reads.

owners.py, folders.py: what there should be → Entry. media.py: what there is, and which Entry it belongs to → Item;
claims.py: which of several it is listed for.
checking.py: which media can be read, and whether they are whole. conversion.py with extraction.py and transcoding.py:
videos → frame folders or smaller videos. parallel.py: worker processes for both. lists.py: Items → files.
sharding.py: listed videos → tar shards.
prepare.py tells the two stories from one end to the other; tools/prepare_data.py is their command line.
"""
