"""What other readers make of a model that leaves the lab: the smallest cosine to its canary, in float32

    python bench/readers.py [FOLDER] [--only READER]... [--models MODEL...]

A tiny transformer, and MiniLM after a few steps of in-batch training. Each reader has an environment of its own in FOLDER (a temporary one unless
named, so name one to run it twice), installed from the index; torch and numpy are this environment's. The server is infinity's, asked by `emb parity`."""
import json, os, socket, subprocess, sys, tempfile, time
from importlib import metadata
from pathlib import Path
from arguments import known, parser
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false', OMP_NUM_THREADS='1')

shared = 'torch', 'numpy', 'scipy', 'scikit-learn', 'joblib', 'threadpoolctl', 'sympy', 'mpmath', 'networkx', 'jinja2', 'markupsafe', 'filelock', 'fsspec', 'typing-extensions', 'tqdm', 'safetensors', 'regex', 'pillow'
old = 'transformers<4.50'
readers = {'sentence-transformers 3.4.1': ('library', ['sentence-transformers==3.4.1', old]), 'sentence-transformers 4.1.0': ('library', ['sentence-transformers==4.1.0', 'transformers<4.58']),
    'sentence-transformers 5.1.2': ('library', ['sentence-transformers==5.1.2', 'transformers<4.58']), 'sentence-transformers 6, here': ('library', None),
    'transformers 4, mean by the config': ('plain', ['sentence-transformers==3.4.1', old]), 'fastembed 0.9, a custom model': ('fastembed', ['fastembed>=0.9,<0.10', 'onnxruntime']), 'infinity 0.0.78, server': ('server', ['infinity-emb[server]==0.0.78', 'sentence-transformers==3.4.1', old])}

library = '''
import json, sys, base64, numpy as np
from sentence_transformers import SentenceTransformer
folder = sys.argv[1]
canary, model = json.load(open(f"{folder}/canary.json")), SentenceTransformer(folder, device="cpu", local_files_only=True)
for side, name in (("query", "query"), ("passage", "document")):
    assert model.prompts[name] == canary["facts"]["prompts"][side]
    got = model.encode(canary["texts"], prompt_name=name)
    print(json.dumps(np.asarray(got, float).tolist()))
'''
plain = '''
import json, sys, torch
from transformers import AutoModel, AutoTokenizer
folder = sys.argv[1]
said, length = json.load(open(f"{folder}/1_Pooling/config.json")), json.load(open(f"{folder}/sentence_bert_config.json"))["max_seq_length"]
canary, tok, model = json.load(open(f"{folder}/canary.json")), AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
for side in ("query", "passage"):
    batch = tok([canary["facts"]["prompts"][side] + o for o in canary["texts"]], padding=True, truncation=True, max_length=length, return_tensors="pt")
    with torch.no_grad(): hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None].float()
    vecs = (hidden*mask).sum(1)/mask.sum(1) if said["pooling_mode_mean_tokens"] else hidden[:, 0]
    print(json.dumps(torch.nn.functional.normalize(vecs).tolist()))
'''

fastembed = '''
import json, os, sys, tempfile, numpy as np
from pathlib import Path
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
folder = Path(sys.argv[1])
canary = json.load(open(folder/"canary.json"))
TextEmbedding.add_custom_model(model="lab/own", pooling=PoolingType.DISABLED, normalization=False, sources=ModelSource(hf="lab/own"), dim=canary["dimension"], model_file="onnx/model.onnx")
model = TextEmbedding("lab/own", specific_model_path=str(folder), cache_dir=tempfile.mkdtemp())
for side in ("query", "passage"):
    print(json.dumps(np.stack([*model.embed([canary["facts"]["prompts"][side] + o for o in canary["texts"]])]).astype(float).tolist()))
'''

def graph(folder):
    "Leave the whole model as a graph in a folder, as `emb export --onnx` writes it"
    from embed_lab.delivery.onnx import write_graph
    from embed_lab.models.base import load_model
    write_graph(load_model(folder), folder/'onnx'/'model.onnx')

def linked(folder):
    "A folder with this environment's torch and what that needs, and nothing else"
    for name in shared:
        dist = metadata.distribution(name)
        for top in {o.parts[0] for o in dist.files if o.parts[0] not in ('..', '__pycache__')}:
            if not (folder/top).exists(): (folder/top).symlink_to(dist.locate_file(top))
    return folder

def environment(name, wanted, at):
    "The Python of a reader's environment"
    if wanted is None: return sys.executable
    path = at/'-'.join(sorted(wanted)).translate(str.maketrans('[]=<>', '_____'))
    if not (path/'whole').exists():
        subprocess.run([sys.executable, '-m', 'venv', path], check=True)
        (at/'torch').mkdir(exist_ok=True)
        next(path.glob('lib/python*/site-packages')).joinpath('shared.pth').write_text(f"{linked(at/'torch')}\n")
        subprocess.run([path/'bin'/'pip', 'install', '-q', *wanted], check=True, stdout=sys.stderr)
        (path/'whole').touch()
    return str(path/'bin'/'python')

def tuned(name, folder):
    "A model after a few steps of in-batch training, saved as runs save theirs"
    import torch
    from embed_lab.models.base import load_model, minilm, tiny_transformer
    from embed_lab.models.canary import canary_texts, write_canary
    from embed_lab.models.portable import make_portable
    texts = canary_texts(128)
    model = tiny_transformer([*texts, 'query :']) if name == 'tiny' else load_model(minilm)
    model.max_seq_length, model.prompts = 128, dict(query='query: ', document='')
    moves = torch.optim.AdamW(model.parameters(), 1e-4)
    for _ in range(5):
        made = [torch.nn.functional.normalize(model({k: v for k,v in model.preprocess(o).items()})['sentence_embedding']) for o in (texts, [t[::-1] for t in texts])]
        torch.nn.functional.cross_entropy(20*made[0] @ made[1].T, torch.arange(len(texts))).backward()
        moves.step(), moves.zero_grad()
    model.eval().save_pretrained(str(folder), create_model_card=False)
    write_canary(folder, model, remarks=make_portable(folder, 128))
    return folder

def cosines(code, python, folder):
    "The smallest cosine and the largest difference of lengths"
    import numpy as np
    from embed_lab.models.canary import paired_cosines, read_canary
    env = {k: v for k,v in os.environ.items() if k != 'PYTHONPATH'}
    res = subprocess.run([python, '-c', code, folder], env=env, capture_output=True, text=True)
    if res.returncode: return f"does not load: {res.stderr.strip().splitlines()[-1][:100]}"
    canary, made = read_canary(folder), [np.array(json.loads(o)) for o in res.stdout.splitlines()[-2:]]
    own = [canary.vectors(o) for o in ('query', 'passage')]
    far = max(abs(np.linalg.norm(a, axis=1) - np.linalg.norm(b, axis=1)).max() for a,b in zip(own, made))
    return f"{min(paired_cosines(a, b).min() for a,b in zip(own, made)):.7f}, lengths within {far:.0e}"

def served(python, folder):
    "What `emb parity` says of infinity"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = {k: v for k,v in os.environ.items() if k != 'PYTHONPATH'}
    command = [str(Path(python).parent/'infinity_emb'), 'v2', '--model-id', folder, '--port', port, '--host', '127.0.0.1', '--device', 'cpu', '--dtype', 'float32', '--no-bettertransformer', '--engine', 'torch', '--no-model-warmup']
    log = Path(folder).with_suffix('.log').open('w+')
    p = subprocess.Popen([*map(str, command)], env=env, stdout=log, stderr=log)
    try:
        for _ in range(120):
            time.sleep(1)
            with socket.socket() as s:
                if s.connect_ex(('127.0.0.1', port)) == 0: break
            if p.poll() is not None: return f"does not start: {Path(log.name).read_text().strip().splitlines()[-1][:100]}"
        res = subprocess.run([sys.executable, '-c', 'from embed_lab.cli.commands import app; app()', 'parity', folder, f'http://127.0.0.1:{port}'], capture_output=True, text=True)
        return (res.stdout + res.stderr).strip().replace(str(folder), Path(folder).name)
    finally: p.terminate(), p.wait()

def main():
    p = parser(__doc__)
    p.add_argument('folder', nargs='?')
    p.add_argument('--only', action='append', type=known(readers, 'reader'))
    p.add_argument('--models', nargs='*', default=['tiny', 'minilm'], type=known(['tiny', 'minilm'], 'model'))
    args = p.parse_args()
    at = Path(args.folder or tempfile.mkdtemp()).resolve()
    at.mkdir(exist_ok=True)
    models = {o: tuned(o, Path(tempfile.mkdtemp(dir=at))/o) for o in args.models}
    for name,(kind,wanted) in readers.items():
        if args.only and name not in args.only: continue
        python = environment(name, wanted, at)
        for model,folder in models.items():
            if kind == 'fastembed': graph(folder)
            print(f"{name}, {model}:", served(python, folder) if kind == 'server' else cosines(globals()[kind], python, folder), flush=True)

if __name__ == '__main__': main()
