# R_PPC64_NONE at a branch (llvm.reloc.none): the branch is the assembler's all the same.
	.include "frame.inc"
	begin	loops
	li	31, 3
.Lagain:
	mr	3, 31
	bl	leaf
	addic.	31, 31, -1
	.reloc	., R_PPC64_NONE, wanted
	bne	.Lagain
	end	loops
