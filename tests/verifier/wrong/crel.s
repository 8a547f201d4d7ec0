# Relocations as SHT_CREL (clang's assembler, --crel): the second one's place and the first one's
# target move.
	.include "frame.inc"
	.section .text.outer, "ax", @progbits
	begin	outer
	bl	inner
	addis	4, 2, table@toc@ha
	addi	4, 4, table@toc@l
	end	outer
	.text
	begin	first
	bl	leaf
	end	first
	.p2align 4
	begin	inner
	bl	leaf
	end	inner
	.data
table:	.quad	inner
