"""Make a tiny Qwen2 with random weights, its own BPE tokenizer and a tool-calling chat template.

It talks gibberish with broken UTF-8, which is what byte-level cases need. Usage: random_model.py OUT
"""

import sys
import sysconfig
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKUP = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Trained on the standard library's sources: any text on the disk would do."""
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:120]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train([str(path) for path in sources], trainer)
    bpe.add_tokens(MARKUP)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=(len(tokenizer) + 63) // 64 * 64,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        initializer_range=0.2,
    )
    return Qwen2ForCausalLM(config).to(torch.float32)


if __name__ == "__main__":
    out = sys.argv[1]
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(out)
    make_model(tokenizer).save_pretrained(out)
