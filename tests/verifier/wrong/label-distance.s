# Ranges of code in data: each one's label, and its length as the assembler has it.
	.include "frame.inc"
	begin	ranges
	cmpldi	3, 1
	bgt	.Lone
	sldi	3, 3, 4
	addis	4, 2, lengths.0@toc@ha
	addi	4, 4, lengths.0@toc@l
	ldx	4, 4, 3
	mtctr	4
	bctr
.Lone:	bl	leaf
	mr	31, 3
.Ltwo:	bl	leaf
	bl	leaf
.Lthree:
	end	ranges
	.section .data.rel.ro.local, "aw"
	.p2align 3
	.type	lengths.0, @object
lengths.0:
	.quad	.Lone, .Ltwo-.Lone
	.quad	.Ltwo, .Lthree-.Ltwo
	.size	lengths.0, .-lengths.0
