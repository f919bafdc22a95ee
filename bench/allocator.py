"What a training step costs with and without `keep_memory`, each in a process of its own, in turn"
import statistics, subprocess, sys

code = '''
import sys, time, resource, torch
from transformers import BertConfig, BertModel
from embed_lab.models.base import keep_memory
if sys.argv[1] == 'kept': keep_memory()
torch.manual_seed(0)
model = BertModel(BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, attention_probs_dropout_prob=0.)).train()
opt, ids = torch.optim.AdamW(model.parameters(), 1e-4), torch.randint(1000, 20000, (64, 128))
def step():
    model(input_ids=ids).last_hidden_state.mean(1).square().sum().backward(); opt.step(); opt.zero_grad()
step()
t = time.perf_counter()
for _ in range(3): step()
print((time.perf_counter() - t)/3, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20)
'''

def measure(kind:str)->tuple: # Seconds a step, peak GiB
    return tuple(map(float, subprocess.run([sys.executable, '-c', code, kind], check=True, capture_output=True, text=True).stdout.split()))

def main(rounds:int=3):
    took = [{k: measure(k) for k in ('kept', 'plain')} for _ in range(rounds)]
    for k in ('kept', 'plain'):
        print(f"{k:6} {statistics.median(o[k][0] for o in took):.2f} s a step, {statistics.median(o[k][1] for o in took):.2f} GiB at most (64 texts of 128 tokens, a model of MiniLM's size)")
    print(f"{statistics.median(o['kept'][0]/o['plain'][0] for o in took):.2f}   kept over plain, median of {rounds} paired ratios")

main()
