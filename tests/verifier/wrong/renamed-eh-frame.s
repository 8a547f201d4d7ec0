# .eh_frame, to be renamed by objcopy --prefix-alloc-sections=.early.
	.abiversion 2
	.text
	.globl	unwound
	.type	unwound, @function
unwound:
	.cfi_startproc
	mflr	0
	.rept	16
	xor	4, 4, 3
	.endr
	bl	leaf
	stdu	1, -64(1)
	.cfi_def_cfa_offset 64
	bl	leaf
	addi	1, 1, 64
	.cfi_def_cfa_offset 0
	mtlr	0
	blr
	.cfi_endproc
	.size	unwound, .-unwound
	.type	leaf, @function
leaf:	blr
	.size	leaf, .-leaf
