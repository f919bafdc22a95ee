"A recipe for Embed Lab that comes from elsewhere"
from pathlib import Path
from embed_lab.training.contract import Contract
from embed_lab.labs.recipes import folder_recipes

hinge = Contract('hinge', 'Hinge', 'a query, its passage and a wrong one', least=1, most=None)

def recipes()->list:
    "What this package brings, for the entry point"
    return folder_recipes(Path(__file__).parent, [hinge])
