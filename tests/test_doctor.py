"What `emb doctor` says of an installation, a machine and a lab, and what it must not say"
import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
import pytest
from support import emb, serving
from embed_lab.labs import doctor

def test_a_sound_lab_is_told_without_secrets(lab):
    res = emb('doctor', cwd=lab)
    said = json.loads(emb('doctor', '--json', cwd=lab).stdout)
    assert said['healthy'] and not said['wrong'] and said['facts']['runs'] == 'none' and 'gold.jsonl' in said['facts']['data'] and 'here' in said['facts']['model']
    assert not said['extras']['lab'] and 'torch' in said['packages'] and said['facts']['hub'] == 'not asked: HF_HUB_OFFLINE is set'
    assert str(Path.home()) not in res.stdout and max(map(len, res.stdout.splitlines())) <= 101

def test_an_address_with_a_token_is_not_repeated(monkeypatch):
    monkeypatch.setattr(doctor, 'toolkit_requirement', lambda: 'embed-lab[lab] @ git+https://me:ghp_abcdefghijklmnopqrstuvwxyz0123456789@host/repository')
    monkeypatch.setenv('HF_TOKEN', 'hf_abcdefghijklmnopqrstuvwxyzABCDEFGH')
    said = json.dumps(doctor.examine('/', ask=False).to_dict())
    assert 'host/repository' in said and 'ghp_' not in said and 'hf_abc' not in said

@pytest.mark.parametrize('change, said', [('sead = 3', 'did you mean `seed`?'), ('keep_checkpoints = perhaps', 'write `yes` or `no`')])
def test_a_lab_that_is_not_sound_is_an_answer_of_no_with_the_line_to_mend(lab, change, said):
    with open(lab/'settings.ini', 'a') as f: f.write(change + '\n')
    first = emb('doctor', cwd=lab, ok=1).stdout.splitlines()[0]
    assert first.startswith('wrong: ') and said in first

def test_what_an_extra_lacks_is_named_and_only_the_one_that_trains_is_missed(monkeypatch):
    real = doctor.version
    def version(name):
        if name in ('bm25s', 'peft'): raise PackageNotFoundError(name)
        return '0.1' if name == 'plotly' else real(name)
    monkeypatch.setattr(doctor, 'version', version)
    found = doctor.examine('/', ask=False)
    assert found.extras['lora'] == ['peft is missing'] and found.extras['lab'] == ['bm25s is missing', 'plotly is 0.1, wanted >=7.0']
    assert len(found.wrong) == 1 and "pip install 'embed-lab[lab]'" in found.wrong[0]

def test_where_torch_does_not_load_the_rest_is_told(monkeypatch):
    def broken(): raise OSError('libcudart.so.13: cannot open shared object file')
    monkeypatch.setattr(doctor, 'hardware', broken)
    found = doctor.examine('/', ask=False)
    assert 'torch does not load: libcudart.so.13' in found.wrong[0] and 'system' in found.facts

def test_a_hub_is_missed_only_by_a_model_that_is_not_here(lab, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '0')
    with serving(None) as url:
        monkeypatch.setenv('HF_ENDPOINT', url)
        assert doctor.hub_answer() == 'answers' # with whatever code
    assert doctor.hub_answer().startswith('does not answer')
    assert not doctor.examine(lab).wrong
    ini = lab/'settings.ini'
    ini.write_text(''.join('model = org/nowhere\n' if o.startswith('model =') else o for o in ini.read_text().splitlines(keepends=True)))
    assert 'the base model is not here and the hub does not answer' in doctor.examine(lab).wrong[0]
