"""The rewriter: objects, PowerPC, proofs, the layout, and the commands around them.

The rooms, from the ground up; each imports from those above it in this list only:

    power/       what the processor is: instructions, relocation types
    object/      what the file is, and who refers to what in it
    proof/       where branches lead, and what in code is data
    layout/      what is inserted, and where everything goes
    references/  who points to code from elsewhere, moved or refused
    kpatch/      what kpatch asks besides: sibling calls
    build/       nopfix behind a compiler: wrapper, server, tools
    show/        what people look at: listings, reports

`errors` and `options` lie below them, `pipeline` leads through them, `command` is the front door.
"""
