"""Makes the files that tensor_file_test.cpp reads. Run it in this folder, with PyTorch and NumPy."""
import collections
import zipfile

import numpy as np
import torch

rows = torch.arange(6, dtype=torch.float32).reshape(2, 3)
square = torch.arange(16, dtype=torch.float32).reshape(4, 4)

torch.save(rows, "tensor.pt")
torch.save(torch.nn.Parameter(rows), "parameter.pt")
torch.save(rows.clone().requires_grad_(), "requires_grad.pt")
torch.save(square.t()[1:3], "view.pt")
torch.save(torch.ones(1).expand(2, 3), "expanded.pt")
torch.save(rows.bfloat16(), "bf16.pt")
torch.save(rows.half(), "f16.pt")
torch.save(torch.tensor(7), "scalar.pt")
torch.save(torch.empty(0, 3), "empty.pt")
torch.save(torch.tensor([True, False, True]), "bool.pt")
torch.save((rows, torch.arange(3), (square[0],)), "tuple.pt")
torch.save(rows, "protocol4.pt", pickle_protocol=4)
torch.save(rows, "legacy.pt", _use_new_zipfile_serialization=False)
torch.save([rows, rows], "list.pt")
torch.save({"x": rows}, "dict.pt")
torch.save(collections.OrderedDict(a=rows, b=rows), "state_dict.pt")
torch.save((rows, 3), "tuple_with_int.pt")
torch.save(torch.nn.Linear(1, 1), "module.pt")
torch.save(rows.to_sparse(), "sparse.pt")
torch.jit.save(torch.jit.script(torch.nn.ReLU()), "script.pt")

# A tuple of two of a tuple of two, 60 times over, of which each two are one: PROTO EMPTY_TUPLE, (BINPUT BINGET TUPLE2)...
shared = b"\x80\x02)" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60)) + b"."
with zipfile.ZipFile("shared_parts.pt", "w") as file:
    for name, record in (("data.pkl", shared), ("version", b"3\n")):
        file.writestr(zipfile.ZipInfo(f"shared_parts/{name}"), record)

values = np.arange(6, dtype="<f4").reshape(2, 3)
np.save("c_order.npy", values)
np.save("fortran_order.npy", np.asfortranarray(values))
np.save("scalar.npy", np.array(7, dtype="<i8"))
np.save("big_endian.npy", values.astype(">f4"))
np.save("u2.npy", values.astype("<u2"))
np.save("structured.npy", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]))
np.savez("arrays.npz", values)
for version in (2, 3):
    with open(f"version{version}.npy", "wb") as file:
        np.lib.format.write_array(file, values, version=(version, 0))
