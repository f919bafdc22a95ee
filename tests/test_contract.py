"The contract's word against what the library does: every mismatch and every honest data set is handed to its trainer"
import gc, logging, sys, warnings
from time import process_time
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from support import sh
from embed_lab.training.contract import Contract, check_contract, contract, contracts, ordered_columns, refuse_misfit, register
from embed_lab.lab import LabError

queries, passages = ['reset my router', 'pair a headset', 'clean the lamp', 'make some tea'], ['hold the button', 'open settings', 'use a cloth', 'boil some water']
wrong, worse, other = ['plug it in', 'turn it up', 'hang it up', 'dim the light'], ['one', 'two', 'three', 'four'], ['five', 'six', 'seven', 'eight']
pairs, one, two = dict(query=queries, passage=passages), dict(negative_1=wrong), dict(negative_1=wrong, negative_2=worse)
texts, nan = dict(text=queries), float('nan')
vectors = [[.1*i + .01*j for j in range(8)] for i in range(4)]

# the library, for a step or two

split_batches = 'cached-in-batch', 'cached-symmetric-in-batch', 'cached-gist', 'gist', 'denoising', 'contrastive-tension' # need what a static model lacks
noise = 'deprecated', 'widget', 'corrupted', 'LOAD REPORT'

class Ear(logging.Handler):
    "Keeps what is logged"
    def __init__(self):
        super().__init__(logging.WARNING)
        self.heard = []
    def emit(self, record): self.heard.append(record.getMessage())

@pytest.fixture(scope='module')
def train(tmp_path_factory):
    "A function that trains on data as the library alone would, and says 'silent', 'warns' or 'raises', the losses or why, and how far the weights moved"
    import torch
    from datasets import Dataset
    from embed_lab.models.base import tiny_model, tiny_transformer
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer import losses
    from transformers import PrinterCallback
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze() # the trainer collects garbage after each training, which takes four times as long as the training
    words, folder, loggers = queries + passages + wrong + worse + other, tmp_path_factory.mktemp('contract'), [logging.getLogger(o) for o in ('sentence_transformers', 'transformers')]
    tiny_transformer(words, dim=8).save_pretrained(str(folder/'bert'))
    def model(name): return SentenceTransformer(str(folder/'bert'), device='cpu', local_files_only=True) if name in split_batches else tiny_model(words, dim=8)
    def options(name, base): return {'softmax': dict(embedding_dimension=8, num_labels=3), 'mega-batch-margin': dict(use_mini_batched_version=False)}.get(name, dict(guide=base) if 'gist' in name else {})
    def fit(data, name, batch_size, sampler):
        base = model(name)
        base.model_card_data.set_widget_examples = lambda dataset: None
        args = SentenceTransformerTrainingArguments(str(folder), max_steps=2, per_device_train_batch_size=batch_size, learning_rate=.01, batch_sampler=sampler, seed=0, use_cpu=True, bf16=False,
            report_to='none', disable_tqdm=True, save_strategy='no', logging_steps=1, logging_nan_inf_filter=False, dataloader_pin_memory=False)
        before = {k: v.clone() for k,v in base.state_dict().items()}
        trainer = SentenceTransformerTrainer(base, args, train_dataset=data if isinstance(data, Dataset) else Dataset.from_dict(data), loss=getattr(losses, contracts[name].library)(base, **options(name, base)))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        moved = max(float((v - before[k]).abs().max()) for k,v in base.state_dict().items() if v.is_floating_point())
        return [o['loss'] for o in trainer.state.log_history if 'loss' in o], moved
    def run(data, name, batch_size=4, sampler='batch_sampler'):
        ear = Ear()
        for o in loggers: o.addHandler(ear)
        logging.Logger.warning_once = getattr(logging.Logger.warning_once, '__wrapped__', logging.Logger.warning_once) # each time, not once a process
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                res, moved = fit(data, name, batch_size, sampler)
        except Exception as e: return 'raises', f'{type(e).__name__}: {e}', 0
        finally:
            for o in loggers: o.removeHandler(ear)
        said = [o for o in ear.heard + [str(o.message) for o in caught if issubclass(o.category, UserWarning)] if not any(n in o for n in noise)]
        return 'warns' if said else 'silent', res, moved
    yield run
    gc.unfreeze()
    torch.set_num_threads(threads)

# what does not fit: loss, data, words of the message; then the batch size and the sampler where they matter

mismatches = dict(
    # the seven that FACTS.md calls silent
    zero_as_answer=('in-batch', pairs | dict(label=[1, 0, 1, 0]), ('`label` is 0', 'rows 2, 4', 'leave these rows out')),
    leftover=('in-batch', pairs | dict(url=other), ('`url`', 'all 4 rows', "remove_columns('url')")),
    scale=('cosine', pairs | dict(score=[5., 0., 3., 1.]), ('-1 to 1', '`score` is 5', 'rows 1, 3', 'divide by 5')),
    constant=('contrastive', pairs | dict(label=[1]*4), ('needs labels 0 and 1, but all 4 rows have label 1: use recipe `in-batch`, which learns from positives alone, or loss `cosent` where the rows have a `score`',)),
    empty=('in-batch', pairs | dict(passage=['hold the button', '', ' \u200b', 'boil some water']), ('`passage` is empty', 'rows 2, 3', 'fill it')),
    one_query=('in-batch', pairs | dict(query=['reset']*4), ('`query` is the same', 'all 4 rows', 'which column')),
    unique=('batch-hard-triplet', texts | dict(label=[0, 1, 2, 3]), ("`label` is unique", 'all 4 rows', 'merge classes')),
    # those on which it warns
    id_as_text=('in-batch', pairs | dict(query_id=other), ('`query_id`', 'all 4 rows', "remove_columns('query_id')")),
    grades=('contrastive', pairs | dict(score=[.2, .5, .9, 1.]), ('`score` is 0.2', 'rows 1, 2, 3', '`cosent`')),
    signs=('contrastive', pairs | dict(label=[1, -1, 1, -1]), ('`label` is -1', 'rows 2, 4', 'write 0 for -1')),
    grades_online=('online-contrastive', pairs | dict(score=[.2, .5, .9, 1.]), ('`score` is 0.2', 'rows 1, 2, 3', '`cosent`')),
    nan_binary=('contrastive', pairs | dict(label=[1., nan, 0., 0.]), ('`label` is nan', 'row 2', 'write 0 and 1')),
    stretched=('mse', texts | dict(label=[[.1], [.2], [.3], [.4]]), ('`label` is [0.1]', 'all 4 rows', '`distil`')),
    # those on which it fails
    text_labels=('contrastive', pairs | dict(label=['yes', 'no', 'no', 'yes']), ("`label` is 'yes'", 'all 4 rows', 'write 0 and 1')),
    no_labels=('cosent', pairs, ('`label` or `score`', 'all 4 rows', '`in-batch`')),
    no_rows=('in-batch', dict(query=[], passage=[]), ('no rows', 'dropped')),
    no_passage=('in-batch', dict(query=queries), ('`passage`', 'all 4 rows', 'add it')),
    none_text=('in-batch', pairs | dict(passage=['hold the button', None, 'use a cloth', 'boil some water']), ('`passage` is None', 'row 2', 'write one text')),
    triplets_as_pairs=('contrastive', pairs | one | dict(label=[1, 0, 1, 0]), ('`negative_1`', 'all 4 rows', 'label 0')),
    # labels
    zeros=('contrastive', pairs | dict(label=[0]*4), ('all 4 rows have label 0', 'add relevant pairs')),
    constant_online=('online-contrastive', pairs | dict(label=[1]*4), ('all 4 rows have label 1', '`in-batch`')),
    constant_cosine=('cosine', pairs | dict(score=[1.]*4), ('all 4 rows have score 1', '`in-batch`')),
    constant_order=('cosent', pairs | dict(score=[2.]*4), ('all 4 rows have score 2', '`in-batch`')),
    constant_angle=('angle', pairs | dict(label=[1]*4), ('all 4 rows have label 1', '`in-batch`')),
    negative_answers=('in-batch', pairs | dict(label=[1, -1, 1, 1]), ('`label` is -1', 'row 2', '`pairwise`')),
    none_label=('contrastive', pairs | dict(label=[1, None, 0, 1]), ('`label` is None', 'row 2', 'write 0 and 1')),
    none_unread=('in-batch', pairs | dict(label=[1, None, 1, 1]), ('`label` is None', 'row 2', 'leave these rows out')),
    nan_order=('cosent', pairs | dict(score=[1., nan, 0., 2.]), ('`score` is nan', 'row 2', 'leave these rows out')),
    nan_cosine=('cosine', pairs | dict(score=[1., nan, 0., .2]), ('`score` is nan', 'row 2', 'leave these rows out')),
    text_scores=('cosent', pairs | dict(score=['1', '0', '1', '0']), ("`score` is '1'", 'all 4 rows', 'write a number')),
    truth=('contrastive', pairs | dict(label=[True, False, True, False]), ('true or false', 'all 4 rows', 'write 1 and 0')),
    list_labels=('cosent', pairs | dict(label=[[1, 0]]*4), ('`label` is [1, 0]', 'all 4 rows', 'write a number')),
    two_labels=('cosent', pairs | dict(label=[1, 0, 1, 0], score=[3, 1, 3, 0]), ('`label`', '`score`', 'all 4 rows', 'keep the one')),
    two_text_labels=('cosent', pairs | dict(label=[1, 0, 1, 0], scores=other), ('`label`', '`scores`', 'all 4 rows', 'keep the one')),
    no_labels_binary=('contrastive', pairs, ('`label` or `score`', 'all 4 rows', '`in-batch`')),
    no_classes=('softmax', pairs, ('`label` or `score`', 'all 4 rows', 'add it')),
    # classes
    one_class=('batch-hard-triplet', texts | dict(label=[3]*4), ('all 4 rows have label 3', 'which column')),
    one_class_pairs=('softmax', pairs | dict(label=[1]*4), ('all 4 rows have label 1', 'which column')),
    fractions=('batch-hard-triplet', texts | dict(label=[.5, .5, 1., 1.]), ('`label` is 0.5', 'rows 1, 2', 'number the classes')),
    float_classes=('softmax', pairs | dict(label=[0., 1., 2., 0.]), ('`label` is 0.0', 'all 4 rows', 'number the classes')),
    negative_classes=('softmax', pairs | dict(label=[0, 1, -1, 0]), ('`label` is -1', 'row 3', 'number the classes')),
    true_classes=('softmax', pairs | dict(label=[True, False, True, True]), ('true or false', 'all 4 rows', 'write 1 and 0')),
    named_classes=('batch-hard-triplet', texts | dict(label=['a', 'a', 'b', 'b']), ("`label` is 'a'", 'all 4 rows', 'number the classes')),
    unique_all=('batch-all-triplet', texts | dict(label=[0, 1, 2, 3]), ("`label` is unique", 'all 4 rows', 'merge classes')),
    pairs_in_classes=('batch-hard-triplet', dict(query=queries, passage=passages, label=[0, 0, 1, 1]), ('`text`', 'all 4 rows', 'rename `query`')),
    # texts
    numbers_as_text=('in-batch', pairs | dict(passage=[1., 2., nan, 4.]), ('`passage` is 1 (float)', 'all 4 rows', 'write one text')),
    lists_of_two=('in-batch', pairs | dict(passage=[['one', 'two']]*4), ('`passage` is [', 'all 4 rows', 'write one text')),
    lists=('in-batch', pairs | dict(passage=[['one', 'two', 'three']]*4), ('`passage` is [', 'all 4 rows', 'write one text')),
    empty_pairs=('contrastive', pairs | dict(query=['', 'a', ' ', 'b'], label=[1, 0, 1, 0]), ('`query` is empty', 'rows 1, 3', 'fill it')),
    empty_negative=('in-batch', pairs | dict(negative_1=['a', '', 'b', 'c']), ('`negative_1` is empty', 'row 2', 'fill it')),
    one_passage=('in-batch', pairs | dict(passage=['hold']*4), ('`passage` is the same', 'all 4 rows', 'which column')),
    other_names=('in-batch', dict(anchor=queries, positive=passages), ('`query`', 'all 4 rows', 'rename `anchor`')),
    numbers_left_over=('in-batch', pairs | dict(shelf=[1, 2, 3, 4]), ('`shelf`', 'all 4 rows', "remove_columns('shelf')")),
    left_over_angle=('angle', pairs | dict(url=other, score=[1., .5, 0., .2]), ('`url`', 'all 4 rows', "remove_columns('url')")),
    left_over_order=('cosent', pairs | dict(url=other, score=[1., .5, 0., .2]), ('`url`', 'all 4 rows', "remove_columns('url')")),
    left_over_vector=('mse', texts | dict(url=other, label=vectors), ('`url`', 'all 4 rows', "remove_columns('url')")),
    left_over_class=('batch-hard-triplet', texts | dict(url=other, label=[0, 0, 1, 1]), ('`url`', 'all 4 rows', "remove_columns('url')")),
    left_over_softmax=('softmax', pairs | dict(url=other, label=[0, 1, 2, 0]), ('`url`', 'all 4 rows', "remove_columns('url')")),
    left_over_mega=('mega-batch-margin', pairs | dict(url=other), ('`url`', 'all 4 rows', "remove_columns('url')")),
    left_over_kl=('distil-kl', pairs | one | dict(url=other, label=[[2., 1.], [3., 1.], [2., 0.], [1., 2.]]), ('`url`', 'all 4 rows', "remove_columns('url')")),
    # negatives
    no_negative=('triplet', pairs, ('`negative_1`', 'all 4 rows', '`hard-negatives`')),
    no_negative_but_a_column=('triplet', pairs | dict(url=other), ('`url`', 'all 4 rows', "remove_columns('url')")),
    two_negatives=('triplet', pairs | two, ('`negative_2`', 'all 4 rows', '`in-batch`')),
    two_negatives_gist=('gist', pairs | two, ('`negative_2`', 'all 4 rows', '`in-batch`')),
    negative_mega=('mega-batch-margin', pairs | one, ('`negative_1`', 'all 4 rows', '`in-batch`')),
    negative_order=('cosent', pairs | one | dict(score=[1., .5, 0., .2]), ('`negative_1`', 'all 4 rows', 'label 0')),
    negative_cosine=('cosine', pairs | one | dict(score=[1., .5, 0., .2]), ('`negative_1`', 'all 4 rows', 'label 0')),
    negative_online=('online-contrastive', pairs | one | dict(label=[1, 0, 1, 0]), ('`negative_1`', 'all 4 rows', 'label 0')),
    angle_upside_down=('angle', pairs | one | dict(label=[1, 0, 1, 0]), ('`label` is 0', 'rows 2, 4', 'take `label` out')),
    missing_in_a_row=('in-batch', pairs | dict(negative_1=['a', None, 'b', 'c']), ('`negative_1` is None', 'row 2', 'leave these rows out')),
    ragged=('in-batch', pairs | dict(negatives=[['a', 'b'], ['c'], [], ['d']]), ('`negatives`', 'all 4 rows', '`negative_1`')),
    lists_of_two_negatives=('in-batch', pairs | dict(negative_1=[['one', 'two']]*4), ('`negative_1` is [', 'all 4 rows', 'write one text')),
    right_and_wrong=('triplet', pairs | dict(negative_1=passages), ('`negative_1`', '`passage`', 'all 4 rows', 'take these negatives out')),
    right_and_wrong_in_batch=('in-batch', pairs | dict(negative_1=[passages[0], *wrong[1:]]), ('`negative_1`', '`passage`', 'row 1', 'take these negatives out')),
    # teachers
    no_teacher=('margin-mse', pairs | one, ('`label` or `score`', 'all 4 rows', '`distil`')),
    no_teacher_kl=('distil-kl', pairs | one, ('`label` or `score`', 'all 4 rows', '`distil`')),
    no_vector=('mse', texts, ('`label` or `score`', 'all 4 rows', '`distil`')),
    labels_as_margins=('margin-mse', pairs | one | dict(label=[1]*4), ('`label` says the same', 'all 4 rows', 'not a label')),
    too_few_margins=('margin-mse', pairs | two | dict(label=[1., 2., 3., 4.]), ('2 margins or 3 scores', '`label` is 1', 'all 4 rows', '`distil`')),
    too_many_margins=('margin-mse', pairs | one | dict(label=[[1., 2., 3.]]*4), ('1 margin or 2 scores', '`label` is [', 'all 4 rows', '`distil`')),
    ragged_margins=('margin-mse', pairs | two | dict(label=[[1., 2.], [1.], [0., 2.], [3., 2.]]), ('`label` is [1.0]', 'row 2', '`distil`')),
    nan_margins=('margin-mse', pairs | two | dict(label=[[1., 2.], [1., nan], [0., 2.], [3., 2.]]), ('finite', 'row 2', 'leave these rows out')),
    margins_as_scores=('distil-kl', pairs | one | dict(score=[[1.], [2.], [3.], [0.]]), ('2 scores', '`score` is [1.0]', 'all 4 rows', '`distil`')),
    nan_scores=('distil-kl', pairs | one | dict(score=[[1., 2.], [1., nan], [0., 2.], [3., 2.]]), ('finite', 'row 2', 'leave these rows out')),
    even_scores=('distil-kl', pairs | one | dict(score=[[1., 1.]]*4), ('`score` says the same', 'all 4 rows', 'not a label')),
    scalars_as_vectors=('mse', texts | dict(label=[.1, .2, .3, .4]), ('one vector', '`label` is 0.1', 'all 4 rows', '`distil`')),
    ragged_vectors=('mse', texts | dict(label=[*vectors[:3], [.1]]), ('one vector', '`label` is [0.1]', 'row 4', '`distil`')),
    nan_vectors=('mse', texts | dict(label=[*vectors[:3], [nan]*8]), ('finite', 'row 4', 'leave these rows out')),
    stretched_direction=('embed-distil', texts | dict(label=[[.1], [.2], [.3], [.4]]), ('`label` is [0.1]', 'all 4 rows', '`distil`')),
    one_vector=('embed-distil', texts | dict(label=[vectors[1]]*4), ('`label` says the same', 'all 4 rows', 'not a label')),
    # without labels
    equal_only=('contrastive-tension', dict(text=queries, text_2=queries), ('equal and of different', 'all 4 rows', 'another text')),
    labelled_tension=('contrastive-tension', dict(text=queries, text_2=[*queries[:2], *passages[:2]], label=[5, 1, 2, 3]), ('`label`', 'all 4 rows', 'take `label` out')),
    whole_only=('denoising', dict(text=passages), ('`damaged`', 'all 4 rows', 'add it')),
    # batches
    lonely=('in-batch', pairs, ('2 rows', 'batch_size is 1', 'set batch_size to 16'), 1),
    lonely_order=('cosent', pairs | dict(score=[1., .5, 0., .2]), ('2 rows', 'batch_size is 1', 'set batch_size to 16'), 1),
    lonely_online=('online-contrastive', pairs | dict(label=[1, 0, 1, 0]), ('2 rows', 'batch_size is 1', 'set batch_size to 16'), 1),
    odd_batch=('batch-hard-triplet', texts | dict(label=[0, 0, 1, 1]), ('an even number', 'batch_size is 5', 'set batch_size to'), 5, 'group_by_label'),
    small_batch=('batch-hard-triplet', texts | dict(label=[0, 0, 1, 1]), ('4 rows', 'batch_size is 2', 'set batch_size to'), 2, 'group_by_label'))

@pytest.mark.parametrize('name', mismatches)
def test_what_does_not_fit_is_refused_and_does_what_its_harm_says(train, name):
    loss, data, words, size, sampler = (*mismatches[name], 4, 'batch_sampler')[:5] if len(mismatches[name]) == 3 else (*mismatches[name], 'batch_sampler')[:5]
    found = check_contract(data, loss, size)
    hit = next((o for o in found if o.fails and all(w in str(o) for w in words)), None)
    assert hit, list(map(str, found))
    assert str(hit).startswith(f'{loss} loss ') and '\n' not in str(hit) and (hit.count >= len(hit.rows) > 0 or name == 'no_rows')
    with pytest.raises(LabError, match='^data/train.jsonl: '): refuse_misfit(found)
    does, said, moved = train(data, loss, size, sampler)
    assert does == hit.harm.split(':')[0], (does, said, moved, hit.harm)

def test_the_default_sampler_is_not_what_a_loss_over_the_batch_wants(train):
    "One query on every row: without duplicates in a batch each batch is one row, and nothing is learnt"
    assert train(pairs | dict(query=['reset']*4), 'in-batch', sampler=contract('in-batch').sampler) == ('silent', [0., 0.], 0)

# what does fit: the batch size matters to some, and the sampler is the contract's

honest = {
    'contrastive': [pairs | dict(label=[1, 0, 1, 0]), pairs | dict(label=[1., 0., 0., 0.])],
    'online-contrastive': [pairs | dict(label=[1, 0, 1, 0]), pairs | dict(label=[True, False, True, False])],
    'cosine': [pairs | dict(score=[1., .2, -.3, 0.]), pairs | dict(label=[-1, 1, 1, -1]), pairs | dict(label=[0, 1, 1, 0])],
    'cosent': [pairs | dict(score=[5, 3, 0, 1]), pairs | dict(label=[1, 0, 1, 0]), pairs | dict(scores=[-100., 3., 0., 1e6]), pairs | dict(labels=[True, False, True, True])],
    'angle': [pairs | dict(score=[5, 3, 0, 1]), pairs | one, pairs | two, pairs | one | dict(label=[1]*4)],
    'in-batch': [pairs, pairs | one, pairs | two, pairs | dict(label=[1]*4), pairs | dict(score=[5.]*4), dict(passage=passages, query=queries)],
    'cached-in-batch': [pairs, pairs | two], 'symmetric-in-batch': [pairs | two], 'cached-symmetric-in-batch': [pairs],
    'gist': [pairs, pairs | one], 'cached-gist': [pairs | two], 'mega-batch-margin': [pairs],
    'triplet': [pairs | one, dict(negative_1=wrong, passage=passages, query=queries)],
    'margin-mse': [pairs | one | dict(score=[.5, .2, .1, 2.]), pairs | one | dict(score=[[.5], [.2], [.1], [2.]]), pairs | one | dict(label=[[5, 1], [4, 4], [3, 0], [2, 2]]), pairs | two | dict(score=[[.5, .1], [.2, .2], [.1, 0.], [2., 1.]]), pairs | two | dict(score=[[.5, .1, 0.]]*3 + [[1., 0., 0.]])],
    'distil-kl': [pairs | one | dict(score=[[5., 1.], [4., 4.], [3., 0.], [2., 2.]]), pairs | two | dict(label=[[3, 1, 0]]*4), pairs | two | dict(label=[[3., 1., -float('inf')]]*4), pairs | one | dict(negative_2=wrong, label=[[3., 1., 1.], [2., 0., 0.]]*2)],
    'mse': [texts | dict(label=vectors), texts | dict(text_2=passages, label=vectors), texts | dict(text_2=passages, label=[[o, o[::-1]] for o in vectors])],
    'embed-distil': [texts | dict(label=vectors)],
    'softmax': [pairs | dict(label=[0, 1, 2, 0]), pairs | dict(label=[0, 1, 1, 0])],
    'denoising': [dict(damaged=queries, text=passages)],
    'contrastive-tension': [dict(text=queries, text_2=[*queries[:2], *passages[:2]])], 'contrastive-tension-in-batch': [texts], 'orthogonal': [pairs, pairs | one]}
honest |= {o: [texts | dict(label=[0, 0, 1, 1]), texts | dict(label=[0., 0., 7., 7.]), texts | dict(label=[-1, -1, 2, 2]), dict(label=[0, 0, 1, 1]) | texts] for o in contracts if contracts[o].sampler == 'group_by_label'}

def test_every_loss_has_an_honest_example(): assert {*honest} == {*contracts}

@pytest.mark.parametrize('loss, i', [(k, i) for k,v in honest.items() for i in range(len(v))])
def test_honest_data_pass_and_train(train, loss, i):
    from datasets import Dataset
    data = Dataset.from_dict(honest[loss][i])
    for o in (honest[loss][i], data, data.to_list(), data.with_format('numpy')): assert check_contract(o, loss, 4) == []
    does, losses, moved = train(data.select_columns(ordered_columns(data, loss)), loss, 4, contract(loss).sampler)
    assert does == 'silent' and len(losses) == 2 and all(o == o for o in losses) and 0 < moved < 1, (does, losses, moved)

@pytest.mark.parametrize('loss', list(contracts))
def test_a_column_too_many_does_what_the_table_says(train, loss):
    data, said = honest[loss][0], contract(loss).extra
    does, losses, _ = train(data | dict(url=other), loss)
    assert does == said.split(':')[0], (does, losses)
    if does == 'silent': assert (losses == train(data, loss)[1]) == (said == 'silent: it is encoded and not used'), losses

def test_columns_go_by_name(train):
    data = dict(passage=passages, negative_2=worse, query=queries, negative_1=wrong, label=[1]*4)
    assert ordered_columns(data, 'in-batch') == ['query', 'passage', 'negative_1', 'negative_2'] and ordered_columns(data, 'margin-mse') == [*ordered_columns(data, 'in-batch'), 'label']
    assert check_contract(data, 'in-batch', 4) == [] and train(data, 'in-batch')[0] == 'warns'
    many = dict(pairs, **{f'negative_{i}': [f'{i} {o}' for o in other] for i in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)})
    assert ordered_columns(many, 'in-batch')[2:] == [f'negative_{i}' for i in range(1, 11)] and not check_contract(many, 'in-batch')

# what is worth a line, and lets training begin

warned = dict(
    small_classes=('batch-hard-triplet', texts | dict(text=[*queries, 'x'], label=[0, 0, 1, 1, 2]), ('alone in its class', 'row 5', 'merge classes')),
    few_passages=('in-batch', pairs | dict(passage=['a', 'a', 'b', 'b']), ('`passage`', 'batches of 2 at most in all 4 rows, not of 4', 'set batch_size to 2')),
    one_negative=('in-batch', pairs | dict(negative_1=['a']*4), ('`negative_1`', 'batches of 1 at most in all 4 rows', 'other negatives')),
    shared_negatives=('in-batch', pairs | dict(negative_1=passages[1:] + passages[:1]), ('`passage`', 'batches of 2 at most in all 4 rows', 'set batch_size to 2 or less or train with fewer')),
    twice=('in-batch', pairs | one | dict(negative_2=wrong), ('`negative_2` repeats `negative_1`', 'all 4 rows', 'leave one out')),
    gap=('in-batch', pairs | dict(negative_1=wrong, negative_3=worse), ('`negative_3`', 'all 4 rows', 'without a gap')),
    itself=('in-batch', pairs | dict(negative_1=[queries[0], *wrong[1:]]), ("the row's own `query`", 'row 1', 'take these negatives out')),
    own_query=('in-batch', dict(query=queries, passage=[queries[0], *passages[1:]]), ('its own query', 'row 1', 'leave these rows out')),
    grades=('in-batch', pairs | dict(score=[5, 4, 1, 2]), ('from 1 to 5', 'all 4 rows', '`cosent`')),
    both=('contrastive', dict(query=['a', 'a', 'b'], passage=['c', 'c', 'd'], label=[1, 0, 1]), ('two labels for the same text', 'rows 1, 2', 'drop_conflicts')),
    one_query=('contrastive', pairs | dict(query=['a']*4, label=[1, 0, 1, 0]), ('`query` is the same', 'all 4 rows', 'which column')),
    steep=('distil-kl', pairs | one | dict(score=[[500., -300.], [1., 2.], [1., 2.], [2., 1.]]), ('100', 'row 1', 'teacher_temperature')))

@pytest.mark.parametrize('name', warned)
def test_what_is_worth_a_line_is_no_refusal(train, name):
    loss, data, words = warned[name]
    [line] = refuse_misfit(check_contract(data, loss, 4))
    assert all(w in str(line) for w in words), str(line)
    does, said, moved = train(data, loss, sampler=contract(loss).sampler)
    assert does == line.harm.split(':')[0] and moved, (does, said, line.harm)

# the table and the library

def test_every_loss_of_the_library_has_a_contract_and_takes_another_by_its_name():
    from inspect import isclass
    from sentence_transformers.sentence_transformer import losses
    from torch.nn import Module
    wrappers = {'MatryoshkaLoss', 'Matryoshka2dLoss', 'AdaptiveLayerLoss'}
    assert {o for o in losses.__all__ if isclass(getattr(losses, o)) and issubclass(getattr(losses, o), Module)} - wrappers == {o.library for o in contracts.values()}
    assert all(k == o.name for k,o in contracts.items())

def test_the_first_of_four_names_is_the_label():
    from embed_lab.training.contract import label_columns
    from sentence_transformers.base.data_collator import DEFAULT_LABEL_COLUMNS
    assert label_columns == DEFAULT_LABEL_COLUMNS

def test_a_plug_in_adds_a_loss_under_a_name_that_is_free():
    mine = Contract('tests-own', 'Own', 'a query, its passage and a wrong one', least=1, most=None)
    try:
        register(mine)
        register(mine) # a notebook that is run twice
        assert not check_contract(pairs | one, 'tests-own') and '`negative_1`' in str(check_contract(pairs, 'tests-own')[0])
        for o in (Contract('tests-own', 'Own', 'something else'), Contract('in-batch', 'Own', 'pairs')):
            with pytest.raises(LabError, match=f'there is already a loss `{o.name}`'): register(o)
    finally: contracts.pop('tests-own')

def test_the_message_of_constant_labels():
    data = dict(query=[f'q{i}' for i in range(4958)], passage=[f'p{i}' for i in range(4958)], label=[1]*4958)
    with pytest.raises(LabError) as e: refuse_misfit(check_contract(data, 'contrastive', 32))
    assert str(e.value) == 'data/train.jsonl: contrastive loss needs labels 0 and 1, but all 4,958 rows have label 1: use recipe `in-batch`, which learns from positives alone, or loss `cosent` where the rows have a `score`'

def test_it_needs_no_torch(): assert not sh(sys.executable, '-c', "import sys, embed_lab.training.contract; print(*[o for o in ('torch', 'datasets', 'sentence_transformers', 'pandas', 'pyarrow') if o in sys.modules])", cwd='/').stdout.strip()

def test_half_a_million_rows_take_seconds():
    n = 500_000
    data = dict(query=[f'question {i}' for i in range(n)], passage=[f'answer {i}' for i in range(n)], label=[i%2 for i in range(n)])
    began = process_time()
    assert check_contract(data, 'contrastive', 32) == [] and process_time() - began < 5

# whatever it is given, it answers with findings

@pytest.mark.parametrize('odd', [None, 3, [], [1], dict(query=['a'], passage=[]), dict(query=7)], ids=str)
def test_what_is_not_a_data_set_is_refused(odd):
    with pytest.raises(LabError, match='^data/train.jsonl: in-batch loss '): refuse_misfit(check_contract(odd, 'in-batch'))

def test_a_message_agrees_with_its_rows():
    found = lambda rows: [str(o) for o in check_contract(rows, 'contrastive') if 'needs labels 0 and 1' in str(o)]
    assert 'but the only row has label 1:' in found([dict(query='a', passage='b', label=1)])[0]
    assert 'but all 2 rows have label 1:' in found([dict(query=o, passage='b', label=1) for o in 'ac'])[0]

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=2), st.complex_numbers(), st.decimals(), st.fractions(), st.just(10**400), st.dates())
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.lists(st.floats(), max_size=3), st.lists(st.lists(st.floats(), max_size=2), max_size=2), st.dictionaries(st.text(max_size=1), scalars, max_size=2))
names = st.sampled_from(['query', 'passage', 'text', 'text_2', 'damaged', 'negative_1', 'negative_2', 'negative_x', 'negative_²', 'negatives', 'label', 'score', 'scores', 'query_id', 'url\x1b', ''])

@st.composite
def odd_data(draw):
    n = draw(st.integers(0, 4))
    column = st.one_of(st.lists(values, min_size=n, max_size=n), st.lists(draw(st.sampled_from([st.text(max_size=3), st.integers(-1, 2), st.floats(), st.lists(st.floats(), min_size=2, max_size=2)])), min_size=n, max_size=n), st.lists(values, max_size=2))
    columns = draw(st.dictionaries(names, column, max_size=6))
    return [dict(zip(columns, o)) for o in zip(*columns.values())] if draw(st.booleans()) else columns

@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(odd_data(), st.sampled_from(list(contracts)), st.one_of(st.none(), st.integers(-1, 9)))
def test_odd_data_get_findings_and_no_traceback(data, loss, batch_size):
    for o in check_contract(data, loss, batch_size):
        assert str(o) and '\n' not in str(o) and '\x1b' not in str(o) and o.harm.split(':')[0] in ('silent', 'warns', 'raises') and o.remedy
