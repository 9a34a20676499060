from itertools import chain

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.data.encoder import Encoder, in_batches
from dynamoe_search.data.split import SPLITS, Split
from dynamoe_search.data.tokenizer import BytePairTokenizer, ByteTokenizer, Tokenizer


@settings(max_examples=30)
@given(
    documents=st.lists(st.text("abc é"), max_size=20),
    tokenizer=st.sampled_from([ByteTokenizer(), BytePairTokenizer((("a", "b"), ("ab", "c")))]),
)
def test_a_batch_is_its_documents_each_in_its_split(
    documents: list[str], tokenizer: Tokenizer
) -> None:
    split = Split(seed=0)
    encoded = Encoder(tokenizer, split)(documents)
    for place in range(len(SPLITS)):
        here = [document for document in documents if split.place(document) == place]
        wanted: list[int] = []
        for document in here:
            wanted += [*tokenizer.encode(document).tolist(), tokenizer.end_of_document]
        found = np.frombuffer(encoded.tokens[place], dtype="<u2").tolist()
        assert found == wanted
        size = len("".join(here).encode())
        assert encoded.counts[place].tolist() == [len(here), len(wanted), size]


def test_batches_are_bounded_and_in_order() -> None:
    documents = [str(number) * 25_000 for number in range(30)]
    batches = list(in_batches(documents))
    assert list(chain(*batches)) == documents
    sizes = [sum(map(len, batch)) for batch in batches]
    assert all(2**18 <= size < 2**18 + 50_000 for size in sizes[:-1])
