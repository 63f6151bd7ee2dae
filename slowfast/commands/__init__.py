"""Commands of slowfast, a module each: their options, and what is called with them."""
