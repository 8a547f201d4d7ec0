# clang -fpseudo-probe-for-profiling: distances between probes, without relocations.
	.text
	.abiversion 2
	.type	leaf, @function
leaf:	addi	3, 3, 1
	blr
	.size	leaf, .-leaf
	.globl	probed
	.type	probed, @function
probed:	mflr	0
	.pseudoprobe 81985529216486895 1 0 0 probed
	bl	leaf
	.pseudoprobe 81985529216486895 2 0 0 probed
	mtlr	0
	blr
	.size	probed, .-probed
