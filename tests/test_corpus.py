"`emb encode`: the vectors that the model gives, in one piece or after a kill, and one line for what cannot be encoded"
import json, os, subprocess, time
import numpy as np, pytest
from embed_lab.data.reading import read_rows
from embed_lab.data.files import write_rows
from embed_lab.models.base import load_model, tiny_model
from embed_lab.models.corpus import encode_corpus
from embed_lab.models.vectors import encode
from support import bin, emb

@pytest.fixture(scope='session')
def corpus(tmp_path_factory, data):
    "A file in the layout of a lab's corpus, some documents with a title"
    file = tmp_path_factory.mktemp('corpus')/'corpus.jsonl'
    texts = [o['passage'] for o in read_rows(data/'train.jsonl')]
    write_rows(file, [dict(_id=f'd{i}', text=o) | (dict(title=f'Part {i}') if i % 3 == 0 else {}) for i,o in enumerate(texts)])
    return file

def texts_of(file): return [f"{o['title']}\n{o['text']}" if 'title' in o else o['text'] for o in map(json.loads, open(file))]

def prompted(base, path):
    "The tiny model with prompts saved in it"
    model = load_model(base)
    model.prompts = dict(query='find: ', document='read: ')
    model.save_pretrained(str(path))
    return path

def test_vectors_are_those_of_the_model_with_its_prompts(base, corpus, tmp_path):
    path = prompted(base, tmp_path/'model')
    said = emb('encode', path, corpus, '--out', 'passages', cwd=tmp_path).stdout
    emb('encode', path, corpus, '--out', 'queries', '--queries', cwd=tmp_path)
    model, texts = load_model(path), texts_of(corpus)
    assert said == f'wrote passages: {len(texts)} passages, 32 dimensions\n'
    for folder,kind in dict(passages='document', queries='query').items():
        np.testing.assert_allclose(np.load(tmp_path/folder/'vectors.npy'), encode(model, texts, kind), atol=1e-6)
    assert np.abs(np.load(tmp_path/'passages/vectors.npy') - np.load(tmp_path/'queries/vectors.npy')).max() > .01
    assert [*map(json.loads, open(tmp_path/'passages/ids.jsonl'))] == [f'd{i}' for i in range(len(texts))]
    assert json.loads((tmp_path/'passages/encoded.json').read_text())['prompt'] == 'read: '

def test_a_second_time_nothing_is_encoded_and_nothing_is_overwritten(base, corpus, tmp_path):
    emb('encode', base, corpus, '--out', 'out', cwd=tmp_path)
    before = (tmp_path/'out/vectors.npy').stat().st_mtime_ns
    assert emb('encode', base, corpus, '--out', 'out', cwd=tmp_path).stdout.startswith('up to date: out: ')
    res = emb('encode', base, corpus, '--out', 'out', '--queries', cwd=tmp_path, ok=2)
    assert 'holds vectors of another model or file' in res.stderr and (tmp_path/'out/vectors.npy').stat().st_mtime_ns == before

def test_a_killed_command_resumes(tmp_path):
    "Killed once some vectors are on the disk, it makes only the rest, and in the end the same file"
    words = [f'{a} {b}' for a in range(300) for b in range(200)]
    tiny_model(words[:500]).save_pretrained(str(tmp_path/'model'))
    write_rows(tmp_path/'big.jsonl', [dict(_id=str(i), text=o) for i,o in enumerate(words)])
    command = [bin/'emb', 'encode', 'model', 'big.jsonl', '--out', 'out']
    note, process = tmp_path/'out/.vectors.npy.json', subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not note.exists(): time.sleep(.005)
    process.kill()
    process.wait()
    assert not (tmp_path/'out/vectors.npy').exists() and not (tmp_path/'out/encoded.json').exists()
    done, seen = json.loads(note.read_text())['done'], []
    model = load_model(tmp_path/'model')
    encode_corpus(model, tmp_path/'big.jsonl', tmp_path/'out', show=lambda *o: seen.append(o))
    assert 0 < done < len(words) and seen[0] == ('encoding', done, len(words)) and len(seen) == 1 + -((done - len(words)) // 1024)
    np.testing.assert_allclose(np.load(tmp_path/'out/vectors.npy'), encode(model, words, 'document'), atol=1e-6)
    assert sorted(os.listdir(tmp_path/'out')) == ['encoded.json', 'ids.jsonl', 'vectors.npy']

@pytest.mark.parametrize('line,why', [('{"_id": "d1"}', ':2: '), ('{"_id": "d0", "text": "again"}', ":2: `_id` 'd0' is already on line 1; ids must differ"), ('{"_id": ', ':2: ')])
def test_a_bad_line_is_named_before_anything_is_encoded(base, tmp_path, line, why):
    (tmp_path/'corpus.jsonl').write_text('{"_id": "d0", "text": "hold the button"}\n' + line + '\n')
    said = emb('encode', base, 'corpus.jsonl', '--out', 'out', cwd=tmp_path, ok=2).stderr.splitlines()
    assert said[-1].startswith('emb: ') and f'corpus.jsonl{why}' in said[-1] and not (tmp_path/'out').exists()
    assert 'Traceback' not in ''.join(said)

def test_what_is_named_wrongly_is_told_in_one_line(base, corpus, tmp_path):
    def why(*args): return emb('encode', *args, cwd=tmp_path, ok=2).stderr.splitlines()[-1]
    assert why(base, 'none.jsonl', '--out', 'out').startswith('emb: none.jsonl: no such file')
    only, = emb('encode', 'exp_01_baseline', corpus, '--out', 'out', cwd=tmp_path, ok=2).stderr.splitlines()
    assert 'there is no lab here' in only
    (tmp_path/'out').write_text('')
    assert 'out is a file' in why(base, corpus, '--out', 'out')

def test_a_run_encodes_by_its_name(lab, corpus):
    only, = emb('encode', 'exp_02_in_batch', corpus, '--out', 'out', cwd=lab, ok=2).stderr.splitlines()
    assert 'no run `exp_02_in_batch`' in only
    emb('run', 'exp_02_in_batch', cwd=lab)
    emb('encode', 'exp_02_in_batch', corpus, '--out', 'out', cwd=lab)
    model = load_model(lab/'results/exp_02_in_batch/final')
    np.testing.assert_allclose(np.load(lab/'out/vectors.npy'), encode(model, texts_of(corpus), 'document'), atol=1e-6)
