"""Names on a command line: each is an argument of its own, never one of several in a string, and an unknown one is refused

A list that is split at commas loses every name that holds one, and says nothing."""
import argparse
from difflib import get_close_matches

def known(
    names,    # All that there are
    what:str  # What one of them is called in a message
):            # A `type` for `add_argument`
    "Take a name only if it exists; the refusal names the nearest"
    def convert(name):
        if name in names: return name
        close = get_close_matches(name, names, n=1)
        hint = f'did you mean {close[0]!r}?' if close else f"choose from {', '.join(map(repr, names))}"
        raise argparse.ArgumentTypeError(f'there is no {what} {name!r}; {hint}')
    return convert

def parser(doc:str)->argparse.ArgumentParser: # A module's docstring
    "A parser whose help is the module's docstring"
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
