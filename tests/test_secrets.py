"Secrets are recognised by name and shape where secrets stand, and inputs stay as they were"
import json, os
from types import SimpleNamespace
from unittest import mock
import pytest
from hypothesis import given, settings, strategies as st
from embed_lab.lab import LabError
from embed_lab.runs.manifest import scrub_secrets
from embed_lab.notebooks import shipped_notebooks
from embed_lab.runs.record import rehearsal, resolve_values
from embed_lab.secrets import find_secrets, hide_output_secrets, hide_secrets, refuse_secret_parameters

x = 'a1B2c3D4e5F6g7H8' # sixteen letters that look drawn
block = '-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----'
secrets = [f'hf_{x}{x}', f'ghp_{x}{x}', f'github_pat_11{x}_{x}', f'glpat-{x}abcd', f'sk-{x}{x}', f'sk-proj-{x}-{x}', f'sk-ant-api03-{x}{x}', 'AKIA' + 'ABCD2345'*2, f'AIza{x}{x}abc',
    f'xoxb-123456-{x}', f'npm_{x}{x}abcd', f'pypi-{x*4}', f'eyJ{x}.eyJ{x}.{x}', block, block.replace('RSA', 'OPENSSH'), block.replace('RSA PRIVATE KEY', 'PRIVATE KEY'), f'r8_{x}{x}', f'sk_live_{x}']

@pytest.mark.parametrize('secret', secrets)
@pytest.mark.parametrize('around', ['{}', 'token {} refused', '"{}"', '({})', 'x={}&y', '\\n{}\\n', '\\u0027{}\\u0027', '?x=%20{}', '\x1b[31m{}\x1b[0m', 'a\n{}\nb', '<td>{}</td>'])
def test_a_secret_of_known_shape_is_hidden_wherever_it_stands(secret, around):
    res = hide_secrets(around.format(secret))
    assert res == around.format('***') and len(find_secrets(around.format(secret))) == 1

@pytest.mark.parametrize('text, left', [('https://me:pass@host/lab.git', 'https://***@host/lab.git'), ('https://tok@host/x', 'https://***@host/x'), ('https://me:p@ss@host/x', 'https://***@host/x'),
    ('postgres://u:p@db:5432/x and redis://:pw@h', 'postgres://***@db:5432/x and redis://***@h'), ('ssh://git@host/x', 'ssh://git@host/x'), ('git@host:x.git', 'git@host:x.git'),
    ('https://host/x.git?private_token=4711&ref=main', 'https://host/x.git?private_token=***&ref=main'), ('https://h/x?a=1&access_token=z#f', 'https://h/x?a=1&access_token=***#f'),
    ('https://h/b?X-Amz-Credential=k%2F1&X-Amz-Signature=ab&X-Amz-Date=1', 'https://h/b?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Date=1'), ('https://h/b?sv=1&sig=a%2Bb', 'https://h/b?sv=1&sig=***'),
    ('url: /api?private_token=4711 (Caused by', 'url: /api?private_token=*** (Caused by'), ('https://host/a@b?x=y@z', 'https://host/a@b?x=y@z'), ('https://host:80/@x', 'https://host:80/@x')])
def test_credentials_in_an_address_are_hidden(text, left): assert hide_secrets(text) == left

@pytest.mark.parametrize('text', [f'Authorization: Bearer {x}', f"{{'authorization': 'Bearer {x}'}}", f'Authorization: Basic {x}==', 'password=hunter2', "password = 'correct horse'", 'PASSWORD: "x y z!"', f'api_key={x}',
    f'"client_secret": "{x}"', f'WANDB_API_KEY={x}', 'passwd=correcthorse', f'token={x}', f"token \x1b[38;5;241m=\x1b[39m \x1b[33m'{x}'", 'password=&quot;hunter2&quot;'])
def test_what_follows_its_name_is_hidden(text):
    res = hide_secrets(text)
    assert '***' in res and not any(o in res for o in (x, 'hunter2', 'horse', 'x y z'))

@pytest.mark.parametrize('text', ['max_tokens=512', "pad_token='[PAD]', eos_token='<|endoftext|>', bos_token='<s>'", 'tokenizer=/models/x7y8z9w0', 'token: str|None = None', 'password=password)', 'connect(password=get(x))',
    'all-MiniLM-L6-v2 and sentence-transformers/all-MiniLM-L6-v2', 'sha256:' + '0f'*32, 'task-2024-11-30-abcdefghijklmn', 'Bearer of bad news', 'bearer authentication', 'exp_02_in_batch,epochs=12,lr=0.01', 'a@b.org', 'key=value',
    'the password: is wrong', 'password=None, token=None', "os.environ['HF_TOKEN']", 'password={password}', 'https://host/x?page=2&tokens=3', '10.1000/xyz123', 'secret: exp_02_in_batch'])
def test_ordinary_text_is_left_alone(text): assert hide_secrets(text) == text and find_secrets(text) == []

@pytest.mark.parametrize('name, value, hidden', [('HF_TOKEN', x, True), ('WANDB_API_KEY', '0f'*20, True), ('DB_PASSWORD', 'hunter2', True), ('API_KEY_2', x, True), ('CI_JOB_TOKEN', x, True),
    ('TOKENIZER', '/models/x7y8z9w0', False), ('TOKENIZERS_PARALLELISM', 'false', False), ('GIT_AUTHOR_NAME', 'in_batch', False), ('HF_TOKEN', 'exp_02_in_batch', False), ('HF_TOKEN', '/models/x7y8z9w0', False),
    ('AUTHOR', x, False), ('TOKEN_FILE', x, False), ('KEYBOARD', x, False), ('MONKEY', x, False), ('PWD', x, False), ('SECRET', '12345678', False), ('PASSWORD', '', False)])
def test_a_variable_is_a_secret_by_its_name_and_its_shape(name, value, hidden):
    with mock.patch.dict(os.environ, {name: value}, clear=True): assert (hide_secrets(f'at <{value}>') == 'at <***>') == hidden

def test_a_secret_of_the_environment_is_no_part_of_a_word():
    with mock.patch.dict(os.environ, {'MY_TOKEN': 'e5base'}): assert hide_secrets('e5base2024 e5base') == 'e5base2024 ***'

# whatever the environment holds

names = st.sampled_from(['HF_TOKEN', 'TOKENIZER', 'GIT_AUTHOR_NAME', 'PASSWORD', 'API_KEY', 'AUTH', 'MY_SECRET', 'SECRET_KEY', 'SSH_AUTH_SOCK', 'GPG_KEY', 'CREDENTIALS'])
texts = st.one_of(st.sampled_from([*secrets, x, 'in_batch', '/models/x', 'exp_02', 'https://me:pw@host/x', 'password=hunter2']), st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\0')))

@settings(max_examples=60, deadline=None)
@given(st.dictionaries(texts, texts), st.dictionaries(names, texts))
def test_no_input_changes_whatever_the_environment_holds(params, env):
    inputs = dict(parameters=params, data={k: dict(sha256=v) for k,v in params.items()}, base_model=next(iter(params.values()), None), models=params)
    run = dict(experiment=next(iter(params), 'exp_01'), inputs=inputs, overrides=params, error=' '.join(params.values()), headline=params)
    with mock.patch.dict(os.environ, env): res = scrub_secrets(run)
    assert {k: v for k,v in res.items() if k != 'error'} == {k: v for k,v in run.items() if k != 'error'}

@settings(max_examples=200, deadline=None)
@given(st.lists(texts).map(' '.join), st.dictionaries(names, texts))
def test_hidden_twice_is_hidden_once(text, env):
    with mock.patch.dict(os.environ, env):
        once = hide_secrets(text)
        assert hide_secrets(once) == once

def test_a_record_keeps_its_inputs_and_hides_what_it_tells(tmp_path, monkeypatch):
    monkeypatch.setenv('MODEL_TOKEN', x)
    monkeypatch.setenv('TOKENIZER', '/models/x')
    run = rehearsal(tmp_path, model='/models/x', note=x)
    run.record(error=f'/models/x: 401 for {x}', warnings=[f'https://me:pw@host and {x}'], stages=dict(mine=dict(at=f'https://h?private_token=1', n=3)))
    m = json.loads((run.path/'run.json').read_text())
    assert m['inputs']['parameters'] == dict(seed=42, model='/models/x', note=x) and m['error'] == '/models/x: 401 for ***'
    assert m['warnings'] == ['https://***@host and ***'] and m['stages'] == dict(mine=dict(at='https://h?private_token=***', n=3))

# parameters

@pytest.mark.parametrize('params', [dict(note=f'hf_{x}{x}'), dict(password='hunter2'), dict(api_key=x), dict(teacher='https://me:pw@host/x'), dict(of=dict(deep=[1, dict(token=x)])), dict(key=block), dict(url='https://h/x?private_token=1'), dict(names=[f'ghp_{x}{x}'])])
def test_a_parameter_that_looks_like_a_secret_is_refused_in_one_line(params):
    with pytest.raises(LabError) as e: refuse_secret_parameters(dict(lr=1e-4) | params)
    said = str(e.value)
    assert f'parameter `{next(iter(params))}` looks like a' in said and '\n' not in said and not any(o in said for o in (x, 'hunter2', 'pw'))

@pytest.mark.parametrize('given, model', [(dict(model='https://me:pw@host/x'), 'x'), (dict(model=None), f'hf_{x}{x}')])
def test_a_run_with_a_secret_for_a_parameter_never_starts(given, model):
    lab, nb = SimpleNamespace(seed=1, model=model), shipped_notebooks('experiments')/'exp_02_in_batch.ipynb'
    assert resolve_values(lab, nb, {}, {})['model'] == model if given['model'] else True
    with pytest.raises(LabError, match='parameter `model` looks like a'): resolve_values(lab, nb, given, {})

def test_no_parameter_is_refused_for_what_the_environment_holds(monkeypatch):
    monkeypatch.setenv('HF_TOKEN', x)
    refuse_secret_parameters(dict(note=x, model='/models/x', tokenizer=x, pooling_token='cls', prompt='password: hunter2 ', max_tokens=512, loss=None, lr=.1, token='exp_02_in_batch'))

# outputs

def test_secrets_are_found_in_every_text_of_an_output():
    secret, picture = f'hf_{x}{x}', dict(output_type='display_data', data={'image/png': f'hf_{x}{x}'}, metadata={})
    outputs = [dict(output_type='stream', name='stdout', text=['a\n', f'{secret}\n', 'b']), dict(output_type='stream', name='stderr', text=secret), dict(output_type='error', ename='E', evalue=secret, traceback=['a', f'\x1b[31m{secret}']),
        dict(output_type='execute_result', data={'text/plain': [secret], 'text/html': f'<b>{secret}', 'application/json': dict(a=[secret, 1, None])}, metadata={}), picture, dict(output_type='stream', name='stdout', text=block.splitlines(True))]
    nb = dict(cells=[dict(cell_type='code', source=secret, outputs=outputs), dict(cell_type='markdown', source=secret), dict(cell_type='code', source='', outputs=None)])
    assert hide_output_secrets(nb) == 5
    res = nb['cells'][0]['outputs']
    assert secret not in json.dumps([o for o in res if o is not picture and 'image/png' not in o.get('data', {})]) and 'MIIEow' not in json.dumps(res)
    assert res[0]['text'] == ['a\n', '***\n', 'b'] and res[2]['traceback'] == ['a', '\x1b[31m***'] and res[4] == picture and nb['cells'][0]['source'] == nb['cells'][1]['source'] == secret
    assert hide_output_secrets(nb) == 0
