from trainer.optim.groups import parameter_groups


def test_each_kind_of_parameter_goes_to_its_optimiser():
    shapes = {
        "tok_emb.weight": (1024, 512),
        "head.weight": (1024, 512),
        "bigram.embed.weight": (2048, 128),
        "bigram.proj.weight": (512, 128),
        "bigram.scale": (),
        "smear.gate": (512,),
        "skip_weights": (5, 512),
        "blocks.0.resid_mix": (2, 512),
        "blocks.0.attn_scale": (512,),
        "blocks.0.mlp_scale": (512,),
        "blocks.0.attn.q_gain": (8,),
        "blocks.0.attn.c_k.weight": (256, 512),
        "blocks.0.attn.proj.weight": (512, 512),
        "blocks.0.mlp.fc.weight": (1536, 512),
    }
    assert parameter_groups(shapes) == {
        "matrix": [
            "bigram.proj.weight",
            "blocks.0.attn.c_k.weight",
            "blocks.0.attn.proj.weight",
            "blocks.0.mlp.fc.weight",
        ],
        "embed": ["tok_emb.weight", "bigram.embed.weight"],
        "scalar": [
            "bigram.scale",
            "smear.gate",
            "skip_weights",
            "blocks.0.resid_mix",
            "blocks.0.attn_scale",
            "blocks.0.mlp_scale",
            "blocks.0.attn.q_gain",
        ],
        "head": ["head.weight"],
    }


def test_two_dimensions_do_not_make_a_control_tensor_a_matrix():
    assert parameter_groups({"skip_weights": (5, 64), "blocks.1.resid_mix": (2, 64)})["matrix"] == []


def test_a_vector_of_unknown_name_is_a_scalar():
    assert parameter_groups({"blocks.0.new_bias": (64,)})["scalar"] == ["blocks.0.new_bias"]


def test_the_bigram_table_trains_with_the_scalars_where_the_recipe_says_so():
    shapes = {"tok_emb.weight": (1024, 512), "bigram.embed.weight": (2048, 128), "ve_shared.embed.weight": (1024, 128)}
    groups = parameter_groups(shapes, bigram_table="scalar")
    assert groups["scalar"] == ["bigram.embed.weight"]
    assert groups["embed"] == ["tok_emb.weight", "ve_shared.embed.weight"]
