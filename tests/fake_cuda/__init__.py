"""A CUDA device that is none, for tests of what a GPU would be given to do.

FakeTensorMode runs a model on tensors that have a shape, a dtype, strides and a device, and no
values. What lacks for ``device='cuda'`` in a torch built for CPUs is a device that autograd finds:
``device.cpp`` is one. Mixed devices, wrong dtypes and strides show, and kernels and bytes can be
counted; numbers and times cannot. All of it runs in a process of its own, ``run.py``.
"""
